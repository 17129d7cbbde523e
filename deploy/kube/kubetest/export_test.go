package kubetest

// Pids returns the process ids of the control plane's programs.
func (c *Cluster) Pids() []int {
	var pids []int
	for _, p := range c.plane.parts {
		pids = append(pids, p.command.Process.Pid)
	}
	return pids
}
