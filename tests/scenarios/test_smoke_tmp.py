from tests.scenarios.kit import *
async def test_it(api):
    await api.publish(LINEAR)
    async with worker(api, lambda t: {"p": t.step_path}) as w:
        a = await api.start("linear", "x-1", wait=10)
        assert a.ended, a
        assert value(a.execution.output) == {"p": "two"}
        print(await api.names("x-1"), w.acks)
    r = await refused(api.start("nope"))
    print(r)
