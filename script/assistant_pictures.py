"""Makes the pictures of docs/assistant-demo.md: what three customers see on their phones after each step.

The sandbox's customers have no phones of glass: the chats are drawn from its ledger, which has what arrived.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from examples.assistant_demo import STEPS, Customer, Demo
from script.screenshots import FOLDER, SOON_S, installation
from tests.support.browser import Browser, Tab

_SIZE: Final = {"width": 1280, "height": 760}
_SHOWN: Final = 7
"""Newest lines of a chat that fit on a phone."""
_NAMES: Final = {"assistant": "Assistant", "human": "Grace"}
_STYLE: Final = """
    body { margin: 0; padding: 24px; background: #f3f4f6; color: #111827; font: 15px/1.4 system-ui, sans-serif; }
    h1 { font-size: 18px; font-weight: 600; margin: 0 0 16px; }
    main { display: grid; grid-template-columns: repeat(3, 1fr); gap: 24px; }
    section { height: 650px; background: #fff; border: 1px solid #d1d5db; border-radius: 24px; overflow: hidden;
              display: flex; flex-direction: column; }
    h2 { margin: 0; padding: 14px 20px; font-size: 15px; color: #fff; }
    ol { list-style: none; margin: 0; padding: 16px; flex: 1; display: flex; flex-direction: column;
         justify-content: flex-end; gap: 8px; overflow: hidden; }
    li { max-width: 82%; padding: 8px 12px; border-radius: 12px; align-self: flex-start; background: #f3f4f6;
         overflow-wrap: anywhere; }
    li.customer { align-self: flex-end; background: #dbeafe; }
    li.human { background: #fef3c7; }
    small { display: block; color: #4b5563; font-weight: 600; }
"""
_COLOURS: Final = {"WhatsApp": "#0b6b4f", "WhatsApp Web": "#14532d", "Messenger": "#1d4ed8"}


def drawn(step: str, customers: Sequence[Customer]) -> str:
    """Return the page of one step."""
    phones = "".join(_phone(customer) for customer in customers)
    return f"<head><style>{_STYLE}</style></head><body><h1>{escape(STEPS[step])}</h1><main>{phones}</main></body>"


def _phone(customer: Customer) -> str:
    lines = "".join(
        f'<li class="{line.speaker}">'
        f"{f'<small>{_NAMES[line.speaker]}</small>' if line.speaker in _NAMES else ''}{escape(line.text)}</li>"
        for line in customer.lines[-_SHOWN:]
    )
    colour = _COLOURS[customer.channel]
    return f'<section><h2 style="background: {colour}">{escape(customer.channel)}</h2><ol>{lines}</ol></section>'


def main(folder: Path) -> int:
    """Take every picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = Browser()

    def take(tab: Tab, step: str, customers: Sequence[Customer]) -> None:
        tab.eval("(html) => { document.documentElement.innerHTML = html; }", drawn(step, customers))
        tab.picture(folder / f"assistant-{step}.png")

    try:
        with installation() as program, browser.tab("about:blank") as tab:
            tab.size(_SIZE)
            token = (program.home / "sandbox_access_token").read_text(encoding="utf-8").strip()
            sandbox = f"http://127.0.0.1:{program.settings.port('sandbox')}"
            Demo(
                program.client,
                sandbox,
                token,
                within_s=2 * SOON_S,
                report=print,
                seen=lambda step, customers: take(tab, step, customers),
            ).run()
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
