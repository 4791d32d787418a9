"""From raw text to a trained run: it joins the packages below."""
