package cli

import (
	"tiwsnap/config"
	"tiwsnap/images"
)

// imageSource returns what opens images by the settings. The error is ready to
// return.
func imageSource(c config.Images) (*images.Source, error) {
	store, err := imageStore(c)
	if err != nil {
		return nil, err
	}
	return &images.Source{Store: store, Fetcher: images.NewFetcher(images.FetcherOptions{Private: c.Private})}, nil
}

// imageStore returns the store of the settings, nil where they name none. The
// error is ready to return.
func imageStore(c config.Images) (images.Store, error) {
	if c.Store == "" {
		return nil, nil
	}
	store, err := images.OpenStore(c.Store, images.Credentials{
		AccessKeyID: c.AccessKeyID.Reveal(), SecretAccessKey: c.SecretAccessKey.Reveal(),
	})
	if err != nil {
		return nil, fail(exitConfig, "TIWSNAP_IMAGES_STORE %w", err)
	}
	return store, nil
}
