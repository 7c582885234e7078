"""placeholder"""


async def run(data: object) -> int:
    return 0
