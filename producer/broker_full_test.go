//go:build long

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBrokerDiskFull fills the disk of the only broker, again and again: it dies of it. The producers wait, say so, and go on when there
// is space and it was started again.
func TestBrokerDiskFull(t *testing.T) {
	d := newDisk(t, 96<<20)
	// Brokers of its own, whose data lie there.
	t.Setenv("PSTNCALLS_SERVERS_RUN", t.TempDir())
	t.Setenv("PSTNCALLS_KAFKA_PROPERTIES", os.Getenv("PSTNCALLS_KAFKA_PROPERTIES")+"\nlog.dirs="+d.folder)
	t.Setenv("PSTNCALLS_KAFKA_FORMAT", os.Getenv("PSTNCALLS_KAFKA_FORMAT")+" --ignore-formatted")
	start := &servers{t: t, part: "kafka"}
	t.Cleanup(func() {
		if _, err := start.run("down"); err != nil {
			t.Error(err)
		}
	})
	if err := start.up(); err != nil {
		t.Fatal(err)
	}
	listed, err := start.run("env")
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(strings.TrimSpace(listed), "=")
	t.Setenv("PSTNCALLS_TEST_KAFKA", address)
	brokers := ownServers(t, "kafka", "PSTNCALLS_TEST_KAFKA")

	o := newOutages(t, "disk-full", 2, "fabrikam", "northwind")
	for range max(2, countOf(t, "PSTNCALLS_TEST_ROUNDS", brokerRounds)/10) {
		o.rounds++
		complaints := d.complaints(brokers.folders[0])
		said := o.said()
		d.fill(o.rng.Int64N(64 << 10))
		o.until("the broker dies of its full disk", func() bool { return !brokers.alive(0) })
		if n := d.complaints(brokers.folders[0]); n == complaints {
			t.Error("the broker has died, but not of its disk")
		}
		o.says(said, noBroker)
		if err := brokers.up(); err == nil {
			t.Error("the broker starts on a full disk")
		}
		d.free()
		o.during("the broker starts again", brokers.up)
		o.completed(brokers)
		o.hit("died")
		o.recovered()
		o.judge()
	}
	o.finish()
}

// disk is a small one of its own.
type disk struct {
	t      *testing.T
	folder string
	filler string
}

func newDisk(t *testing.T, size int) *disk {
	t.Helper()
	d := &disk{t: t, folder: t.TempDir()}
	d.filler = filepath.Join(d.folder, "filler")
	if err := syscall.Mount("tmpfs", d.folder, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("this test needs the right to mount a small file system that it can fill: run it as root (%v)", err)
	}
	t.Cleanup(func() {
		err := syscall.Unmount(d.folder, 0)
		for deadline := time.Now().Add(30 * time.Second); errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline); time.Sleep(beat) {
			err = syscall.Unmount(d.folder, 0) // who was killed has its files open a moment longer
		}
		if err != nil {
			t.Errorf("unmount %s: %v", d.folder, err)
		}
	})
	return d
}

// fill leaves no more than so many bytes.
func (d *disk) fill(spare int64) {
	d.t.Helper()
	f, err := os.Create(d.filler)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	n, err := io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("after %d bytes: %v", n, err)
	}
	if err := f.Truncate(max(0, n-spare)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(d.filler); err != nil {
		d.t.Fatal(err)
	}
}

// complaints counts how often a node has said that the disk is full.
func (d *disk) complaints(node string) (n int) {
	d.t.Helper()
	logs, err := filepath.Glob(filepath.Join(node, "log", "*"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			d.t.Fatal(err)
		}
		n += strings.Count(string(text), "No space left on device")
	}
	return n
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
