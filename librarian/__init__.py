"""AI Librarian: a local knowledge-graph library over LightRAG, with a Streamlit dashboard."""

__version__ = "0.1.0"
