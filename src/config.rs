//! Every knob.
