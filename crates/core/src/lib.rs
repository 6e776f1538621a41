//! Time, outcomes, rejections, gates and budgets that every seawall layer shares.
