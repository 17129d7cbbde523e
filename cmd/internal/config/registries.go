package config

import (
	"fmt"
	"strings"
)

// Registry is a container registry that is asked for the digests of the images that are deployed from it.
type Registry struct {
	Host         string `yaml:"host"`     // with its port, such as registry.example.com:5000
	Username     string `yaml:"username"` // "" asks as nobody
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
	Insecure     bool   `yaml:"insecure"` // by plain HTTP
}

func (c *Config) checkRegistries() error {
	hosts := map[string]bool{}
	for i, r := range c.Registries {
		switch {
		case r.Host == "" || strings.ContainsAny(r.Host, "/@ "):
			return fmt.Errorf("registries[%d].host: %q is not a host such as registry.example.com", i, r.Host)
		case hosts[r.Host]:
			return fmt.Errorf("registries[%d].host: %q is there twice", i, r.Host)
		case (r.Username == "") != (r.Password == ""):
			return fmt.Errorf("registries[%d]: username and password (or password_file) belong together", i)
		}
		hosts[r.Host] = true
	}
	return nil
}
