"""How hypothesis plays here: `--hypothesis-profile=unshrunk` plays longer, and stops at the first failure (mutation
checks).
"""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("unshrunk", max_examples=250, phases=[Phase.explicit, Phase.reuse, Phase.generate])
