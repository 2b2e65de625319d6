"""An app of Django on `virke.django`, and the tests that Django's own runner runs of it."""
