"""Jobs on boxes: submitted by people, claimed and reported by boxes, watched while they run."""
