"""Keys on disk, and the signer that never signs twice."""
