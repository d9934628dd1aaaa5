"""Whether a binary wheel is fit for users: small, stripped, looking for libraries in itself alone.

    python .ci/check_wheel.py WHEEL

Prints its size and, from the bill of materials that auditwheel wrote, where vendored libraries come from.
"""

import io
import json
import sys
import zipfile
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

LARGEST = 2_500_000  # bytes


def problems_of(name, elf):
    """What is wrong with one shared library."""
    for section in elf.iter_sections():
        if section.name == ".symtab" or section.name.startswith(".debug"):
            yield f"{name} is not stripped: it has {section.name}"
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                paths = getattr(tag, "runpath", getattr(tag, "rpath", "$ORIGIN"))
                yield from (
                    f"{name} looks for libraries in {path}"
                    for path in paths.split(":")
                    if not path.startswith("$ORIGIN")
                )


def main(path):
    size = path.stat().st_size
    problems = [f"{size} bytes are more than {LARGEST}"] if size > LARGEST else []
    print(f"{path.name}: {size:,} bytes")
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            content = wheel.read(name)
            if content[:4] == b"\x7fELF":
                print(f"  {len(content):>9,} {name}")
                problems += problems_of(name, ELFFile(io.BytesIO(content)))
            elif name.endswith("sboms/auditwheel.cdx.json"):
                parts = json.loads(content)["components"]
                print("  vendored:", *(part["purl"] for part in parts if part["name"] != "cyconv"))
    return "\n".join(problems)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) or 0)
