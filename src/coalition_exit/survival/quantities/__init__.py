"""What a Cox fit predicts: hazards, survival, durations, margins."""
