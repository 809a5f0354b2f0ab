package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/process"
	"aigateway/gateway/server"
)

// lookEvery is how often the files are looked at. A stat costs a microsecond, and works on every kind of file
// system and through symbolic links, where a notification may not come.
const lookEvery = time.Second

// keysEvery is how often KEYS_FILE is, which must be in force a second after it has changed, and is read when it was found the
// same twice.
const keysEvery = 100 * time.Millisecond

// A reloader puts changed files into force.
type reloader struct {
	in       config.Input
	gateway  *server.Gateway
	log      *slog.Logger
	level    *slog.LevelVar
	notify   *process.Notifier
	settings atomic.Pointer[config.Settings] // in force
}

// run reloads at each hang-up signal, and when a file has changed and then stayed the same for a moment, until ctx ends.
func (r *reloader) run(ctx context.Context, hangUp <-chan os.Signal) {
	look, lookKeys := time.NewTicker(lookEvery), time.NewTicker(keysEvery)
	defer look.Stop()
	defer lookKeys.Stop()
	files, keys := process.Watch(r.files()), process.Watch(r.keysFile())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-lookKeys.C:
			r.gateway.ExpireKeys(now)
			if len(keys.Changed()) > 0 {
				r.reloadKeys()
			}
			continue
		case <-hangUp:
			r.log.Info("reloading", "reason", "signal")
		case <-look.C:
			changed := files.Changed()
			if len(changed) == 0 {
				continue
			}
			r.log.Info("reloading", "reason", "changed: "+strings.Join(changed, ", "))
		}
		r.notify.Reloading()
		r.reload()
		r.notify.Ready()
		files.Follow(r.files())
		keys.Follow(r.keysFile())
	}
}

// files are those whose change is a reload.
func (r *reloader) files() (list []string) {
	if r.in.File != "" {
		list = append(list, r.in.File)
	}
	for _, p := range r.settings.Load().Pools {
		if p.Credential.File != "" {
			list = append(list, p.Credential.File)
		}
	}
	if t := r.settings.Load().TLS; len(t.Certificates) > 0 {
		list = append(append(list, t.CertFiles...), t.KeyFiles...)
		if t.TicketKeysFile != "" {
			list = append(list, t.TicketKeysFile)
		}
	}
	return list
}

// keysFile is the file of keys, if there is one.
func (r *reloader) keysFile() []string {
	if f := r.settings.Load().KeysFile; f != "" {
		return []string{f}
	}
	return nil
}

// reloadKeys reads KEYS_FILE alone again: a fault in another file must not keep a key alive that was taken back.
func (r *reloader) reloadKeys() {
	s := r.settings.Load()
	keys, warnings, err := r.in.Keys.Read(s.KeysFile, r.in.ReadFile)
	if err != nil {
		r.refused(err)
		return
	}
	for _, w := range warnings {
		r.log.Warn(w)
	}
	next := s.WithKeys(keys)
	if err := r.gateway.Reload(next); err != nil {
		r.refused(err)
		return
	}
	r.settings.Store(next)
	r.log.Info("reloaded", "reason", "changed: "+s.KeysFile)
}

// reload reads the files again and puts them into force. Files with faults are reported, and what runs stays.
func (r *reloader) reload() {
	next, warnings, err := config.Load(r.in)
	if err != nil {
		r.refused(err)
		r.reloadTLS()
		return
	}
	for _, w := range warnings {
		r.log.Warn(w)
	}
	if names := r.settings.Load().NeedRestart(next); len(names) > 0 {
		r.log.Warn("some settings have changed that need a restart", "settings", names)
	}
	if err := r.gateway.Reload(next); err != nil {
		r.refused(err)
		return
	}
	r.settings.Store(next)
	r.level.Set(next.LogLevel)
	r.log.Info("reloaded")
}

// reloadTLS reads the files of TLS alone: a certificate must not run out, nor a key of tickets stay, because of a fault elsewhere.
func (r *reloader) reloadTLS() {
	t := r.settings.Load().TLS
	if len(t.Certificates) == 0 {
		return
	}
	if c, err := t.ReadCertificates(r.in.ReadFile); err == nil {
		r.gateway.UseCertificates(c)
	}
	if keys, err := t.ReadTicketKeys(r.in.ReadFile); err == nil {
		r.gateway.UseTicketKeys(keys)
	}
}

func (r *reloader) refused(err error) {
	list := []string{err.Error()}
	if faults := (*config.Faults)(nil); errors.As(err, &faults) {
		list = faults.List
	}
	r.log.Error("cannot reload, the running settings stay", "faults", list)
}
