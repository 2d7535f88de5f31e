"""Starting node processes fast: a fork server that has imported everything already."""
