"""Its loop stands still while a thread lives on."""

import threading
import time

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()


def busy_elsewhere() -> None:
    while True:
        time.sleep(0.01)


threading.Thread(target=busy_elsewhere, name="still-here", daemon=True).start()
life.run(until=lambda: True)
life.line.watchdog()


def stuck_in_the_work_loop() -> None:
    threading.Event().wait()


stuck_in_the_work_loop()
