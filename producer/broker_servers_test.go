//go:build long

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// servers are the brokers that .ci/servers has started for a test, for it kills them.
type servers struct {
	t       *testing.T
	part    string
	brokers []string
	folders []string // of the nodes
	adm     *kadm.Client
}

// ownServers returns the brokers of a variable, if they are those of .ci/servers: nobody else's are killed. They become those of the
// test's world.
func ownServers(t *testing.T, part, variable string) *servers {
	t.Helper()
	s := &servers{t: t, part: part}
	brokers := os.Getenv(variable)
	listed, err := s.run("env")
	if brokers == "" || err != nil || !slices.Contains(strings.Split(listed, "\n"), "export "+variable+"="+brokers) {
		t.Fatalf("%s=%q names no brokers of .ci/servers, and this test kills its brokers: eval \"$(.ci/servers up %s)\" starts some (%v)", variable, brokers, part, err)
	}
	t.Setenv("PSTNCALLS_TEST_KAFKA", brokers)
	s.brokers = strings.Split(brokers, ",")
	for _, address := range s.brokers {
		s.folders = append(s.folders, folderOf(t, address))
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.MetadataMinAge(beat))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	s.adm = kadm.NewClient(cl)
	return s
}

func (s *servers) run(args ...string) (string, error) {
	out, err := exec.Command("../.ci/servers", args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf(".ci/servers %v: %w\n%s", args, err, out)
	}
	return string(out), err
}

// folderOf returns the folder of the node that listens at an address: there is the number of its process, also of the next one's.
func folderOf(t *testing.T, address string) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		line, _ := os.ReadFile(file) // it may be gone
		args := strings.Split(strings.Trim(string(line), "\x00"), "\x00")
		if len(args) < 2 || args[len(args)-2] != "kafka.Kafka" {
			continue
		}
		properties, _ := os.ReadFile(args[len(args)-1])
		if bytes.Contains(properties, []byte("listeners=PLAINTEXT://"+address+",")) {
			return filepath.Dir(args[len(args)-1])
		}
	}
	t.Fatalf("no Kafka listens at %s", address)
	return ""
}

func (s *servers) process(node int) (int, error) {
	text, err := os.ReadFile(filepath.Join(s.folders[node], "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// alive reports whether a node's process runs: who was killed and not yet buried has no command line any more.
func (s *servers) alive(node int) bool {
	pid, err := s.process(node)
	if err != nil {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), s.folders[node]+"/")
}

func (s *servers) signal(node int, signal syscall.Signal) error {
	pid, err := s.process(node)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// kill kills a node and returns when it is gone.
func (s *servers) kill(node int) error {
	if !s.alive(node) {
		return fmt.Errorf("node %d was not running", node)
	}
	if err := s.signal(node, syscall.SIGKILL); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); s.alive(node); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("node %d was killed and runs on", node)
		}
	}
	return nil
}

// up starts what does not run, on its data.
func (s *servers) up() error {
	_, err := s.run("up", s.part)
	return err
}

// asked calls ask with a time limit of its own until it has an answer.
func asked[T any](s *servers, ask func(context.Context) (T, error)) T {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(beat) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		v, err := ask(ctx)
		cancel()
		if err == nil {
			return v
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the brokers do not answer: %v", err)
		}
	}
}

// leader returns the node that leads a partition.
func (s *servers) leader(topic string, partition int32) int {
	s.t.Helper()
	return asked(s, func(ctx context.Context) (int, error) {
		md, err := s.adm.Metadata(ctx, topic)
		if err != nil {
			return 0, err
		}
		p, ok := md.Topics[topic].Partitions[partition]
		if !ok || p.Err != nil || p.Leader < 1 {
			return 0, fmt.Errorf("%s/%d has no leader: %v", topic, partition, p.Err)
		}
		return int(p.Leader) - 1, nil
	})
}

// coordinator returns the node that coordinates the transactions of an id.
func (s *servers) coordinator(id string) int {
	s.t.Helper()
	return asked(s, func(ctx context.Context) (int, error) {
		r := s.adm.FindTxnCoordinators(ctx, id)[id]
		return int(r.NodeID) - 1, r.Err
	})
}

// inSync waits until every replica of every partition is in sync, the brokers' own topics included.
func (s *servers) inSync() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(beat) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		md, err := s.adm.Metadata(ctx)
		cancel()
		behind := 0
		for _, t := range md.Topics {
			for _, p := range t.Partitions {
				if len(p.ISR) < len(p.Replicas) {
					behind++
				}
			}
		}
		switch {
		case err == nil && behind == 0 && len(md.Brokers) == len(s.folders):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d partitions have replicas that are behind (%v)", behind, err)
		}
	}
}
