"""The models that read, embed and answer: Ollama, or the offline one that needs no server."""
