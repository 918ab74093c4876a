"""A page to try an experiment on photographs: all of it but the page itself works without Gradio."""
