"""What requests and responses look like: the Hugging Face task API and the OpenAI API."""
