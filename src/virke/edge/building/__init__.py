"""What `virke build` needs: a Python, the vendor's tool, the app's packages; and a component and its package, made of them.

Knows no `virke.toml` and no command; `virke.project.building` does.
"""
