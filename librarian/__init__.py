"""AI Librarian: a local knowledge-graph library over LightRAG, watched from a Streamlit dashboard."""

__version__ = "0.1.0"
