"""Protocols: the Hugging Face task API and the OpenAI API."""
