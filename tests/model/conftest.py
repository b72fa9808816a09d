"""How hypothesis plays here: `--hypothesis-profile=unshrunk` stops at the first failure instead of looking for the shortest (mutation checks)."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.reuse, Phase.generate])
