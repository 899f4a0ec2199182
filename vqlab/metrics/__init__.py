"""Figures of merit as sums that merge: over batches by adding, over devices by psum."""
