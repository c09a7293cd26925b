"""Draws report.png and summary.png: a small shop, measured, made dearer and measured again, in a browser.

    python docs/make_pictures.py

Needs Chromium, and of the extra ``docs`` what turns Markdown into a page. What is drawn is what the commands in README.md write.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import markdown

DOCS = Path(__file__).parent
SHOP = """
def total(prices, times=40):
    return sum(price * number for number in range(times) for price in prices)

def find(words, text):
    return [word for word in words if word in text]
"""
TESTS = """
import json
import pytest
from shop import find, total

PRICES, TEXT = list(range(1000)), "an energy report of tests " * 400

def test_total(): total(PRICES)

@pytest.mark.parametrize("words", [10, 1000])
def test_find(words): find([f"word{number}" for number in range(words)], TEXT)

def test_json(energy):
    with energy.measure("write"):
        text = json.dumps([PRICES] * 40)
    json.loads(text)
    energy.work(prices=40_000)

@pytest.mark.energy_budget(joules="100 J")
def test_sorted(): sorted(PRICES * 50, key=lambda price: -price)
"""
FRAME = """<!doctype html><meta charset=utf-8><style>body{{font:15px/1.5 system-ui,sans-serif;margin:16px;color:#1f2328}}
table{{border-collapse:collapse}}th,td{{border:1px solid #d1d9e0;padding:5px 12px}}code{{background:#eff1f3;padding:2px 5px;
border-radius:5px;font-size:85%}}</style><h3>pytest-joules</h3>{}"""


def shot(browser: str, page: Path, target: Path, size: str) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run([browser, *options, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)


def main() -> int:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium here: install it, the pictures are taken in it", file=sys.stderr)
        return 1
    theirs = ("PYTEST", "GITHUB", "GITLAB")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}

    def pytest(*options: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "--energy", "--energy-source=estimate", *options]
        subprocess.run(command, cwd=folder, env=environment, check=False, stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.py").write_text(SHOP)
        (folder / "test_shop.py").write_text(TESTS)
        for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m 1"):
            subprocess.run(["git", *command.split()], cwd=folder, env=environment, check=True)
        for _ in range(6):
            pytest()
        (folder / "shop.py").write_text(SHOP.replace("times=40", "times=60"))
        pytest("--energy-against=HEAD", "--energy-html=energy.html", "--energy-markdown=energy.md")
        shot(browser, folder / "energy.html", DOCS / "report.png", "1000,1160")
        text = markdown.markdown((folder / "energy.md").read_text("utf-8"), extensions=["tables"])
        (folder / "summary.html").write_text(FRAME.format(text), "utf-8")
        shot(browser, folder / "summary.html", DOCS / "summary.png", "1000,330")
    return 0


if __name__ == "__main__":
    sys.exit(main())
