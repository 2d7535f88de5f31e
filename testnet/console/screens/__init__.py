"""The screens of the network TUI, one module each. Pure."""
