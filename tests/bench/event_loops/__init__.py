"""LightRAG in a web server, in each of the usual ways: which of them end, and at what price."""
