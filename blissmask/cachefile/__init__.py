"""The cache on disk: this page is its format, file names, tensor keys and metadata.

A cache folder holds safetensors files. Names and keys are those of musubi-tuner and blissful-tuner, so their trainers
read our files and ours reads theirs. What only blissmask knows is metadata under ``blissmask.``, which they ignore.

File names. STEM is the media file's name without suffix, invalid UTF-8 escaped; SUFFIX is the family's short name, e.g.
``wan``.

    STEM_WWWWxHHHH_SUFFIX.safetensors             latents of a picture: width and height of the upright picture, at
                                                  least 4 digits
    STEM_SSSSS-FFF_WWWWxHHHH_SUFFIX.safetensors   latents of a clip: first frame after the fps change, frame count, size
                                                  of the bucket
    STEM_SUFFIX_te.safetensors                    the encoded caption; one per media file, however many clips it has
    STEM_SUFFIX_KIND.safetensors                  further texts of the item; other trainers do not look at them. KIND:
        class       the caption with the class word instead of the trigger, for trigger-free preservation
        te1, te2    the caption with its tags in another order, for ``shuffle_caption``; ``class1``, ``class2`` likewise
        empty       no caption, for ``caption_dropout_rate``

Keys of latent files: ``CONTENT_FxHxW_DTYPE`` for tensors on the latent grid (latent frames, rows, columns),
``CONTENT_DTYPE`` for the rest.

    latents_FxHxW_DTYPE          (C, F, H, W)   normalised latents; musubi-tuner's trainers of pictures want (C, H, W),
                                                under the same key or under latents_HxW_DTYPE: see ``FrameAxis``
    mask_weights_FxHxW_float32   (1, F, H, W)   mask weights in [0, 1] before gamma and floor; absent when the data set
                                                has no masks
    mask_regions_FxHxW_float16   (4, F, H, W)   share of face, body, hair, background in each cell: multiples of 1/2048
                                                that sum to exactly 1 (to 0 in control frames); only for masks that hold
                                                nothing but tier values
    mask_subcells_FxHxW_float32  (1, F, H, W)   for families whose latent cells hold several cells of the VAE in their
                                                channels: the mask weights of those, on a grid that is as many times
                                                finer. Other trainers read ``mask_weights``, which is their mean
    mask_subregions_FxHxW_float16 (4, F, H, W)  their region shares, under the rules of ``mask_regions``
    mask_subjects_FxHxW_float16  (4 S, F, H, W)  of data sets that show S subjects, two or more: the region shares of
                                                each one's own mask, one set after another, on the grid of sub-cells
                                                where there is one; 0 everywhere for one whom the item does not show
    latents_image_..., latents_control_..., clip_..., f_indices_int32 ...       what the family adds

Keys of text files: ``CONTENT_DTYPE``, or ``varlen_CONTENT_DTYPE`` where the first axis is the caption's own length. A
CONTENT that ends in ``_mask`` has no DTYPE. DTYPE is torch's name. Readers use the tensor's own dtype, not the key's:
musubi-tuner's ``clip_bfloat16`` holds float16.

Metadata, all strings. Both kinds of file: ``architecture``, ``format_version`` (1.0.1). Latents: ``width``, ``height``
(as in the name), ``frame_count`` (clips). Text: ``caption1``. Ours:

    blissmask.format          version of this page: 1
    blissmask.arch            family, as on the command line
    blissmask.media           name of the photo or video, without folders
    blissmask.media_print     fingerprint of the photo or video and its controls; see ``fingerprint.py``
    blissmask.colours         hash of the encoded pixels; a photo whose alpha alone changed is not encoded again
    blissmask.source          what the header of a picture states: ``3000x2000 alpha 1 frames``; of a video with its
                              frames counted and its own rate: ``1920x1080 121 frames at 23.976 fps``
    blissmask.profile         of a picture whose colours were converted to sRGB: the name of the profile they were in
    blissmask.look            pictures: perceptual hash and colours, share of transparent pixels, frames of an
                              animation, whether a face lies on its side: ``HEX hidden 0.000, frames 1``
    blissmask.subject         where the mask shows the subject, its largest head and the face of it, in shares of the
                              picture, ``none`` where it shows none
    blissmask.crop            what the window follows, ``subject`` or ``centre``, where it has a choice
    blissmask.zoom            of a zoom: ``subject`` or ``face``. Its file is called STEM-ZOOM, with the size of the
                              part of the photo that is shown
    blissmask.task            e.g. ``t2v``
    blissmask.geometry        ``3000x2000 -> 1248x832, crop 1248x832+0+0``
    blissmask.frames          clips: which frames of the file, e.g. ``0-24 of 30 fps at 16 fps``
    blissmask.controls        how control pictures are fitted; one-frame time indices
    blissmask.vae             identity of the VAE
    blissmask.vae_dtype       precision the VAE ran in
    blissmask.mask_source     alpha, file, full; empty when the data set has no masks
    blissmask.mask_print      fingerprint of the mask file, of several subjects that of all; empty when there is none
    blissmask.subjects        of data sets that show several: which of them have a mask file, in the order of
                              ``mask_subjects``: ``{"kyla": true, "tom": false}``
    blissmask.tiers           the values of face, body, hair, background that the region shares were computed with:
                              ``255,128,80,0``; empty without a mask
    blissmask.empty_mask      ``full`` where masks that are zero everywhere become full weight, else empty
    blissmask.mask_inverted   ``true`` where dark is what counts, else empty
    blissmask.mean_weight     mean of the mask weights, six decimals; 0.000000 only where all of them are zero
    blissmask.text_encoder    text files: identity of the text encoder
    blissmask.text_dtype      text files: precision the text encoder ran in
    blissmask.controls_print  text files of families that encode captions with the control pictures: their fingerprint
    blissmask.order_of        text files of captions in another order: the caption as it is written
    blissmask.keep_tokens     of the same: how many tags at the front stay where they are
"""
