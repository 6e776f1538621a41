//! Retries failed calls after growing, randomised waits, within one shared budget.
