"""The step of a build, of a wheel or of an editable installation, in which the shim is compiled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # hatchling loads this file alone

from shim import compiler


class ShimBuildHook(BuildHookInterface[BuilderConfig]):
    """Compiles the shim to where the package's files are, and says for which machines that is."""

    def dependencies(self) -> list[str]:
        """Return what is needed for it: asked before anything is built."""
        return compiler.requirements()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Compile it, and tag the wheel."""
        compiler.compile_shim()
        build_data["pure_python"] = False
        build_data["tag"] = compiler.tag()
