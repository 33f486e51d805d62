//! What only the store in Redis promises: two of them at once, answers that are lost, and a Redis that holds something else.
