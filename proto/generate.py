"""Writes the generated code of the contract next to its .proto files: ``python proto/generate.py``.

The code is committed, so that nobody needs a protobuf compiler to use Callboard; a test regenerates it and compares
bytes. The tools are those of the extra ``dev``, with exact versions: another version writes other bytes.
"""

import shutil
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
PACKAGE = Path("callboard", "v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


class GenerationError(Exception):
    """The .proto files do not compile, or a tool is missing; the compiler's own words are on stderr."""


def sources() -> list[str]:
    """The contract's .proto files as the compiler wants them named, relative to their root."""
    return sorted(path.relative_to(PROTO).as_posix() for path in (PROTO / PACKAGE).glob("*.proto"))


def run(*outputs: str) -> None:
    """Runs the protobuf compiler over all sources with these output options."""
    includes = (PROTO, PROTO / "third_party", Path(grpc_tools.__file__).parent / "_proto")
    arguments = ["protoc", *(f"-I{include}" for include in includes), *outputs, *sources()]
    status = protoc.main(arguments)
    if status != 0:
        raise GenerationError(f"protoc ended with status {status}")


def generate(root: Path) -> None:
    """Writes the generated code of all sources below ``root``, in ``callboard/v1``."""
    run(
        f"--python_out={root}",
        f"--pyi_out={root}",
        f"--grpc_python_out={root}",
        # grpc's own plugin writes untyped code; this one types it, for blocking and asynchronous callers alike.
        # Servicers are concrete to the type checker too, as they are: what one does not override is UNIMPLEMENTED.
        f"--plugin=protoc-gen-mypy_grpc={_stub_plugin()}",
        f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{root}",
    )
    _drop_empty_services(root / PACKAGE)


def generated(folder: Path) -> dict[str, bytes]:
    """The generated files of a folder, by name."""
    return {path.name: path.read_bytes() for pattern in GENERATED for path in sorted(folder.glob(pattern))}


def replace_committed() -> None:
    """Replaces the committed code, files of sources that are gone included."""
    with TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = generated(Path(folder) / PACKAGE)
    target = PROTO / PACKAGE
    for name in generated(target).keys() - fresh.keys():
        (target / name).unlink()
    for name, content in fresh.items():
        (target / name).write_bytes(content)


def _drop_empty_services(folder: Path) -> None:
    """The plugins write a service module for sources without a service as well; nobody would import those."""
    for source in sources():
        if "\nservice " not in (PROTO / source).read_text(encoding="utf-8"):
            for suffix in ("py", "pyi"):
                (folder / f"{Path(source).stem}_pb2_grpc.{suffix}").unlink(missing_ok=True)


def _stub_plugin() -> str:
    """The plugin of this environment, which need not be on PATH."""
    name = "protoc-gen-mypy_grpc"
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise GenerationError(f"{name} is not installed; it comes with the extra `dev`")
    return found


if __name__ == "__main__":
    try:
        replace_committed()
    except GenerationError as error:
        sys.exit(str(error))
