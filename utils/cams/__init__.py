"""CAM dicts on disk, and what is made of them: CRF scores, pseudo-masks, pictures."""
