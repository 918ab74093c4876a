"""A page to try an experiment on photographs; only `page` needs Gradio."""
