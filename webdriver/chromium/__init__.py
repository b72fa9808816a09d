"""One Chromium as a contained process, its profile, and the one door to its debugging protocol."""
