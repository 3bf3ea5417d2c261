"""One job: attack, check of the threat model, verification, worst case, and the record."""
