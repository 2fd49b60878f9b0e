"""The wires clients speak besides OpenAI's chat: said in chat on the way in, said back in their own on the way out."""
