"""The screens of a node: one pure function each, from the model and a size to lines."""
