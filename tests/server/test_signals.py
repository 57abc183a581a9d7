import asyncio
import os
import signal
import threading

from exporter.server.signals import on_signals


async def test_signals_call_the_callback():
    """Each signal calls the callback every time, even one that was blocked. Then the previous handler is restored."""
    calls, previous = asyncio.Queue(), signal.getsignal(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.pthread_kill(threading.get_ident(), signal.SIGHUP)  # blocked, so it stays pending and doesn't end the test
    with on_signals((signal.SIGHUP, signal.SIGTERM), lambda: calls.put_nowait(1)):
        async with asyncio.timeout(20):
            await calls.get()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
                os.kill(os.getpid(), number)
                await calls.get()
    assert signal.getsignal(signal.SIGHUP) is previous
