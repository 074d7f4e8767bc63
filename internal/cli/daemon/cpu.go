package daemon

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// userHz is the unit of /proc/PID/stat's times: 100 on every Linux that Go runs on (USER_HZ is part of the kernel's ABI).
const userHz = 100

// cpuSeconds is the CPU time that a process and its children that it waited for have spent, from /proc/PID/stat fields 14 to 17.
func cpuSeconds(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name may hold spaces and parentheses: fields are counted behind the last one.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("read CPU time of process %d: %d fields", pid, len(fields))
	}
	ticks := 0.0
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		ticks += float64(n)
	}
	return ticks / userHz, nil
}

// meter adds up the CPU time of processes that come and go. A process counts from when it is first seen: what a killed one had spent
// between the last sample and its death is lost.
type meter struct {
	last map[int]float64
}

// sample returns the CPU time that each group of processes spent since the sample before.
func (m *meter) sample(pids map[string][]int) map[string]float64 {
	spent, seen := map[string]float64{}, map[int]float64{}
	for group, list := range pids {
		for _, pid := range list {
			now, err := cpuSeconds(pid)
			if err != nil {
				continue // it ended since the list was made
			}
			if before, ok := m.last[pid]; ok && now >= before {
				spent[group] += now - before
			}
			seen[pid] = now
		}
	}
	m.last = seen
	return spent
}
