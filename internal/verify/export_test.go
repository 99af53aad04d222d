package verify

// SetMaxHeld changes how many events are held to name rows, until the returned function is called.
func SetMaxHeld(n int64) (restore func()) {
	was := maxHeld
	maxHeld = n
	return func() { maxHeld = was }
}
