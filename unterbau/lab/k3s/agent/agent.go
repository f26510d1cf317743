// Package agent is what runs on every node that takes pods.
package agent

import (
	"context"

	"unterbau.internal/k3s/config"
)

// Run keeps the node going until ctx ends.
func Run(ctx context.Context, _ *config.Config) error {
	<-ctx.Done()
	return nil
}
