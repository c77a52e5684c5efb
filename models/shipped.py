"""Which weights are the shipped ones: a list of their SHA-256 that training does not touch.

python -m afdaemon.models.shipped        writes the list anew, for a release with new weights
"""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "weights"
LIST = _FOLDER / "shipped.json"


@cache
def shipped() -> dict[str, str]:
    """The SHA-256 of each weight file by its name."""
    listed = json.loads(LIST.read_text(encoding="utf-8"))
    return {str(name): str(digest) for name, digest in listed.items()}


def are_shipped(sha256: str) -> bool:
    """Whether weights with this SHA-256 came with this version."""
    return sha256 in shipped().values()


def found() -> dict[str, str]:
    """The SHA-256 of the weight files that lie there now."""
    files = sorted(_FOLDER.glob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main() -> int:
    """Write the list of what lies there."""
    LIST.write_text(json.dumps(found(), indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"wrote {LIST}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
