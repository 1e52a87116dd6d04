"""The built-in template `replay`: plays the bundles given as `inputs` with rosbag2 beside a user's software, which
comes by the image of the submission. Nothing but template.json."""
