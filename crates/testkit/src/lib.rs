//! Contract suite, probe services and scripted services for testing seawall layers.
