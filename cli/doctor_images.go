package cli

import (
	"context"
	"time"

	"tiwsnap/config"
	"tiwsnap/images"
)

// imageStoreTimeout bounds the check of the image store.
const imageStoreTimeout = 30 * time.Second

// images checks that an object can be written, read and deleted in the image store.
func (d *doctor) images(ctx context.Context, c config.Images) {
	const check = "image store"
	store, err := imageStore(c)
	if store == nil && err == nil {
		return
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, imageStoreTimeout)
		defer cancel()
		err = images.Check(ctx, store)
	}
	if err != nil {
		d.fail(exitUnavailable, check, "create the folder or bucket of TIWSNAP_IMAGES_STORE and let this user "+
			"write to it",
			"cannot store copies: %v", err)
		return
	}
	d.ok(check, "%s: a test object was written, read and deleted", store)
}
