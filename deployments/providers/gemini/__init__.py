"""Google's Gemini API: `generate_content` writes requests and reads replies and streams."""
