"""What agent and controller share. Imports nothing of ours."""

from typing import Final

VERSION: Final = "0.1.0"
