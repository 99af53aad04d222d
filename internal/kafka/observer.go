package kafka

// Point is a place on the way of a session that an Observer is told of.
type Point string

// The points of a session, in the order in which they are passed.
const (
	AtFenced    Point = "fenced"    // the predecessor can no longer commit
	AtClaimed   Point = "claimed"   // the barrier is committed
	AtState     Point = "state"     // a record of the state was read
	AtReady     Point = "ready"     // the state is read and checked
	AtBegin     Point = "begin"     // a transaction begins
	AtProduced  Point = "produced"  // its records are acknowledged, none is committed
	AtEnd       Point = "end"       // End is about to be sent
	AtCommitted Point = "committed" // End was answered
	AtRelease   Point = "release"   // the hand-over is about to be committed
	AtReleased  Point = "released"  // it is committed
)

// Observer is told when a session passes a Point: for metrics, and for tests that want to stop exactly there.
type Observer interface {
	Reached(shard int32, p Point)
}

type noObserver struct{}

func (noObserver) Reached(int32, Point) {}
