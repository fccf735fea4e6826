"""What `noisy_student.ablate` is made of: jobs of studies, their running, statistics and tables."""
